"""The model registry: members, generations, their deployment, and what is stored of them."""
