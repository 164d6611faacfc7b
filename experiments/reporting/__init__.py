"""Tables, figures and pages of what runs have found.

Imports `running`.

    averages                     means and standard errors over splits
    figures, curves, face_sheet  what figures are drawn with
    markdown                     tables of Markdown
    recorded_runs                what runs have left in their folders
    web_page                     HTML, with web_page.html
    results_page                 docs/results, Markdown
    verdicts                     the paper's claims, judged from the tables
    model_card.md                of the pretrained models, filled in by `experiments.pretrain`
"""
