"""The consumers: processes that take participants of a target and do something about them.

    app          the composition root of a consumer, and the table of handlers: where a new one is added
    handler      what a handler is: reactions to types of entries, each ending in a Result
    consume      one entry on its way: read, handled once, reported
    effects      once per entry although delivery is at least once
    joining      taking a place in a conversation without ever pushing anybody out of it
    ai_agent     joins as the AI agent and answers; replies holds what it answers with
    human_agent  picks a person, joins them; roster, assignments and sweep are its parts

`python -m handlers NAME` runs one. Nothing in `router` imports this package: it shows what a consumer can be.
"""
