"""The console: a web page for people, and the same as JSON for programs.

Every route is a row of a table (`pages.Page`); the framework authenticates, checks roles and CSRF tokens, renders,
and notes every action. To add a page: write a handler and a template, and add a row to PAGES of a module under
`operations` or `desk`. Nothing here decides about participants: that is the worker's work.
"""
