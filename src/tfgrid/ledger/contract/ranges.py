"""Subnets and addresses of a contract's networks, from the contract's salt."""
