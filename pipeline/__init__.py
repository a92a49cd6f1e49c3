"""From a trained network, data and a budget to a smaller network: the verbs in Python, and the session they share."""
