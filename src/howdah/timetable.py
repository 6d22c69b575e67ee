"""Timetable: when a schedule fires."""
