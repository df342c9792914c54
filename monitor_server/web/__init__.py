"""The page: what a person sees of runs, drawn in the browser from the API alone.

Templates hold the frame, `static` the scripts and styles, as they are: no build step, and nothing from any other
host. Whatever a trainer sent reaches the page as text, never as markup, and `headers` has the browser enforce it.
Nothing here reads the database: what the page shows, the API tells.
"""

from monitor_server.web.pages import open_pages

__all__ = ["open_pages"]
