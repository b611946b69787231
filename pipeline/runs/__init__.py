"""How stages are run: the flows, one stage, the processes that compute, workspaces."""
