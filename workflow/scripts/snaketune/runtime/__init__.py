"""What happens around the work itself: how jobs start, wait and end."""
