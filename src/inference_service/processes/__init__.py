"""Child processes for what may crash, hang or take all memory: they can be killed, threads can't.

What goes to a child comes from the service itself and may be pickled. What comes back has been made
of data from outside: it is JSON and plain arrays, which can do no harm.
"""
