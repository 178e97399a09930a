"""``bootdub ui``: a page in the browser, on the store and the workers of ``bootdub serve``."""
