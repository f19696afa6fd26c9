"""Heroes: small pictures of paper-doll characters with captions, the data of the models that ship with this package.

Modules: `parts` (the pieces), `hero` (one character and its picture), `captions` (sentences, written and read),
`stream` (examples by seed and index), `codes` (pictures as tokens), `fit_codes` and `read` (what a picture shows). All
of them need numpy only. `measure` judges drawn pictures by them.
"""
