"""What an output says about itself: that its mouths were made, by what, and with whose consent."""
