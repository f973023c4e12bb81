"""The consumers: processes that read the participants stream of a target and act on its entries.

    app          composition root of a consumer, and the table of handlers: add a new one there
    handler      what a handler is: reactions to types of entries, each with a result
    consume      one entry: parsed, handled once, reported
    ai_agent     joins as the AI agent and answers; replies finds the function that answers
    human_agent  lets the person join who holds the conversation; what people do comes by commands, to the worker

`python -m handlers NAME` runs one. Nothing in `router` imports this package: it is one example of consumers.
"""
