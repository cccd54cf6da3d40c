"""What is measured: plain numbers, which cost nothing to keep, and what each of them means."""
