"""The fine search: Optuna refines the widths under the budget. Beside ``samplers`` the only room that knows Optuna.

``study`` lets any number of processes share the trials, ``retries`` runs a lost trial
again, ``queue`` evaluates the proposals of the coarse search, ``fine_search`` continues from the best of them.
"""
