"""The only part that runs handlers: a list of services in one task group, around one lease."""
