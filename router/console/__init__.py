"""The console: a web page for people, and the same as JSON for programs.

Every route is a row of one table (`pages.Page`). The framework identifies who asks, checks roles, tokens against forged
forms and what comes in, renders, and notes every action in the audit stream. Nothing here decides about participants:
that is the worker's work.

To add a page:
1. Write `async def show_things(request: ConsoleRequest) -> View`; what it returns is the JSON of the page. Whatever it
   needs is in `request.ports`; `request.sees_unmasked` says whether addresses are shown as they are.
2. Write its template: it extends `base.html`, has the keys of that JSON as variables, and no inline script or style.
3. Add a row to PAGES of a module under `operations` or `desk`, with the role that may open it and a model of the JSON.
   The security suite, the OpenAPI document and `make api` find it there by themselves.
"""
