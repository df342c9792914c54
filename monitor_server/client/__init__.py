"""A client for scripts and notebooks: runs, incidents and observations of a service, as Python objects.

Needs httpx and pydantic, which every trainer has; neither torch nor the libraries of the service. What the service
answers is read into the very models that it was written from (`monitor_server.answers`).
"""
