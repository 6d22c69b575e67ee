"""The modules that come with howdah, one file each; the registry imports those that a file uses."""
