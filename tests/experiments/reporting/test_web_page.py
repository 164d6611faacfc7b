"""Parts of a page: how it shows numbers and names."""

import pytest

from experiments.reporting import web_page


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (["0.00427219", "0.0123"], ["0.00427", "0.01230"]),
        (["24.0608", "-25", ""], ["24.06", "-25.00", ""]),
        (["0.1", "12.8"], ["0.1", "12.8"]),
        (["3", "9999"], ["3", "9999"]),
        (["0", "50343936"], ["0", "50,343,936"]),
        (["0.0170048", "1644.01"], ["0.017", "1644"]),
        (["4.677e-06", "16.25"], ["4.677e-06", "16.25"]),
        (["8586505347.558", "12000.5"], ["8,586,505,348", "12,000"]),
        (["0.0", "0"], ["0.0", "0.0"]),
        (["nan", "inf", "2.5"], ["nan", "inf", "2.5"]),
    ],
)
def test_numbers_are_shown_with_few_digits(written, shown):
    box = web_page.table("numbers", ["x"], [[each] for each in written])
    assert [cell.text or "" for cell in box.iter("td")] == shown
    assert [cell.get("title") or cell.text or "" for cell in box.iter("td")] == written
    assert next(box.iter("th")).get("class") == "number"


@pytest.mark.parametrize(
    "written", [["007", "8"], ["1", "one"], ["", ""], ["1234567890123456"], ["1_000"], ["1e999"], ["٣"]]
)
def test_names_are_not_formatted_as_numbers(written):
    box = web_page.table("names", ["x"], [[each] for each in written])
    assert [cell.text for cell in box.iter("td")] == written
    assert next(box.iter("th")).get("class") is None


def test_elements_keep_the_order_of_texts():
    made = web_page.element("p", "a", web_page.element("b", "c"), "d", "e", data_x_='"&')
    page = web_page.document("<t>", [made, web_page.breakable("p_q.r/s/")])
    assert '<p data-x="&quot;&amp;">a<b>c</b>de</p>' in page
    assert "<span>p_<wbr>q.<wbr>r/<wbr>s/</span>" in page
    assert "<title>&lt;t&gt;</title>" in page
