"""One module per family of metrics. What each number means is said by its :class:`Metric`."""
