"""Decoding settings compared on the same prompts and seeds: the modules behind `sjd2 eval`.

`settings` names what is compared, `decoding` runs it, `task` has the prompts, `measure` judges pictures by what every
model has (steps, bits, counts of tokens), `same_law` tests them against plain decoding, `timing` takes seconds, `run`
fills a file of `results`, `summary` works out what it says, `table` prints that. Pictures of heroes are judged further
by `sjd2.heroes.measure`.
"""
