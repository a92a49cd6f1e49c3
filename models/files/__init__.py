"""A found architecture as JSON and safetensors, and the nearest of many."""
