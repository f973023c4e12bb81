"""The consumers: processes that read the participants stream of a target and act on its entries.

    app          composition root of a consumer, and the table of handlers: add a new one there
    handler      what a handler is: reactions to types of entries, each with a result
    consume      one entry: parsed, handled once, reported
    effects      effects that happen once per entry, although delivery is at least once
    joiners      joining a conversation without replacing anybody: joins (request and result), joining (v2), classic
    ai_agent     joins as the AI agent and answers; replies finds the function that answers
    human_agent  assigns a person and lets them join; roster, assignments and sweep are its parts

`python -m handlers NAME` runs one. Nothing in `router` imports this package: it is one example of consumers.
"""
