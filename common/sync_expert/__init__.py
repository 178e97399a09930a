"""The sync expert, which tells whether lips and sound go together: network, training and measurement."""
