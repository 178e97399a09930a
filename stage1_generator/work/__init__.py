"""What the commands of stage 1 share: their options and checks, and where each puts its results."""
