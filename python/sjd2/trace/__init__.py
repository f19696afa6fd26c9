"""What a decoding did, step by step, as numbers and pictures: the modules behind `sjd2 trace`.

`record` decodes one picture and notes every step; `cells` turns notes into pictures of the unfinished picture; `charts`
draws the numbers, `film` the pictures; `files` writes all of it.
"""
