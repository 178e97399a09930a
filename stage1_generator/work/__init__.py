"""What the commands of stage 1 share: options, the work folder and its lock, progress, trainings."""
