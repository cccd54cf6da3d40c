"""What both services stand on. Nothing in here imports either of them."""
