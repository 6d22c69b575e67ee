"""The only code that knows a driver."""
