"""From a checkpoint to a champion, by evidence.

`gates`        what is asked of a checkpoint        `dossier`  its answers, as JSON, page and model card
`promotion`    from the question to the alias       `aliases`  who may move one, one at a time
`verification` whether a dossier still holds        `attempts` what was tried, also in vain
`exchange`     champions between servers, by hash
"""
