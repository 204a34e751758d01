"""Dynamic batching: which requests run together, when, and which are refused.

Reading order. The plain path first, an evening's reading:

    entries      the values: an entry of the queue and its states, a batch, the decisions
    scheduler    offer, decide, finish, ended: the one driving sequence
    queue        groups and flows: the order of what waits
    lists        entries in order, as both keep them
    forming      the work-conserving batch of a free slot

then what it asks:

    policy       every option and constant, with unit and reason
    cost         S(rows): what a batch costs, learned from every run
    estimates    pure questions: how long a run, the queue, a slot will take
    sizes        the full size, the split, the growth of max_batch_size
    buckets      rows of unlike length: the grid of padded lengths and the cheapest cut

and the mechanisms that need thought:

    turns        which group takes a free slot: deadlines or best effort
    admission    accept or refuse
    deadlines    which entries with deadlines make the next run (EDF-max)
    hold         a free slot that waits for clients in a closed loop

`layout` chooses how many runs at a time with how many threads. Nothing here has a clock, a thread
or I/O. docs/glossary.md defines the words.
"""
