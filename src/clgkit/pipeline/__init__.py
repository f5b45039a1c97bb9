"""Memory of what was done: settings, the store of results, and the runner."""
