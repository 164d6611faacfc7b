"""Tables, figures and pages of the results of runs.

Imports `running`.

    averages                     means and standard errors over splits
    figures, curves, face_sheet  drawing of figures
    markdown                     tables of Markdown
    recorded_runs                the files of finished runs
    web_page                     HTML, with web_page.html
    results_page                 docs/results, Markdown
    verdicts                     the paper's claims, judged from the tables
    model_card.md                of the pretrained models, filled in by `experiments.pretrain`
"""
