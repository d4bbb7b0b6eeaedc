"""From one source to two notebooks, and the checks that keep both honest.

    shelf        where sources, notebooks, solutions and counts lie
    source       a source file and its two readings: the attendee's and the solved one
    navigation   the generated first and last cell
    execute      run a notebook in a fresh kernel, and make what it printed comparable
    build        write the notebooks; run only what has changed
    check        rules that can be read off the files
    accept       new outputs, shown as a difference first
    command      `labkit notebooks`

How to write a notebook: docs/NOTEBOOKS.md.
"""
