"""The routes, a file a noun. They translate between HTTP and the store, and decide nothing themselves."""
