"""The form of the widget, field by field."""
