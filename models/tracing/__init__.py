"""Follow every channel through one forward pass, and sort channels into groups.

``trace`` runs a network once; each operation passes labels on by its rule; ``grouping`` sorts what was found. The
terms, by the example of ``stem = Conv2d(3, 8, 3)``, ``norm = BatchNorm2d(8)`` and ``head = Conv2d(8, 5, 1)`` in a row:

=========  ========================================================================================================
atom       One place along one dimension of one parameter or buffer, a number from 1: filter 2 of ``stem.weight`` is
           atom 3, place 2 of ``norm.bias`` another atom.
label      The atom that a place of a tensor belongs to: an activation of shape (1, 8, 6, 6) behind ``stem`` has
           labels of shape (1, 8, 1, 1), the atoms 1 to 8 of the filters that made it.
tie        Two atoms that live or die together: filter 2 of ``stem.weight`` and place 2 of ``norm.bias``.
channel    All atoms that ties join: filter 2 of ``stem``, place 2 of ``norm``'s four vectors, column 2 of ``head``.
           Its number is that of its smallest atom.
place      Where a channel lies along a dimension: behind a concatenation with 4 channels before it, channel 2 lies at
           place 6.
line       The dimensions of tensors that hold the same channels at the same places: dimension 0 of ``stem.weight``,
           ``stem.bias`` and ``norm``'s vectors, and dimension 1 of ``head.weight``, are one line.
fate       The reason that a channel can't be removed, as a number; 0 where it can: the 5 filters of ``head`` share
           the fate "is an output of the network".
kind       Channels that lie in the same lines and share their fate, and so can stand in for each other: the 8
           channels of ``stem``. They make one group.
part       The channels of one kind in one line: a row of a group's index map, from which its members are made.
=========  ========================================================================================================
"""
