r"""Whole responses, as models write them, and references, as data sets store them, with verdicts.

A response earns `accuracy` by its last box alone; benchmarks read an answer without a box too.
"""

import pytest

from vantage.rewards import accuracy
from vantage.rewards.accuracy import correct
from vantage.rewards.references import fault, perfect
from vantage.rewards.text import final

T = "<think>\nThe angles add up to 180.\n</think>\n"
LONG = "We add the two sides. " * 30

RESPONSES = [  # response, reference, whether its box is right, whether its answer is
    (f"{T}\\boxed{{5}}", "5", 1, 1),
    (f"{T}The answer is $\\boxed{{5}}$.", "5", 1, 1),
    (f"{T}**Final Answer:** $\\boxed{{5}}$", "5", 1, 1),
    (f"{T}### Final Answer\n\n$$\n\\boxed{{5}}\n$$", "5", 1, 1),
    (f"{T}$$\\boxed{{x = 5}}$$", "5", 1, 1),
    (f"{T}\\[ \\boxed{{\\text{{5 cm}}}} \\]", "5 cm", 1, 1),
    (f"{T}\\[\n\\boxed{{\\frac{{1}}{{2}}}}\n\\]", "0.5", 1, 1),
    (f"{T}So $x = 5$ or $x = 6$: \\boxed{{5}} or \\boxed{{6}}", "5", 0, 0),
    (f"{T}\\boxed{{5}} and \\boxed{{6}}", "6", 1, 1),
    (f"{T}First \\boxed{{3}}, then \\boxed{{5}}.", "5", 1, 1),
    (f"{T}First \\boxed{{5}}, then \\boxed{{3}}.", "5", 0, 0),
    (f"{T}\\boxed{{5, 6}}", "5", 0, 0),
    (f"{T}\\boxed{{5 \\text{{ or }} 6}}", "6", 0, 0),
    (f"{T}**Answer:** \\boxed{{\\text{{B}}}}", "B", 1, 1),
    (f"{T}**\\boxed{{B}}**", "B", 1, 1),
    (f"{T}\\boxed{{\\textbf{{(B)}} 12}}", "B", 1, 1),
    (f"{T}\\boxed{{B. 12 cm}}", "B", 1, 1),
    (f"{T}\\boxed{{B: The arc is 240}}", "B", 1, 1),
    (f"{T}\\boxed{{A and C}}", "AC", 1, 1),
    (f"{T}\\boxed{{\\{{A, C\\}}}}", "A, C", 1, 1),
    (f"{T}\\boxed{{A or C}}", "AC", 0, 0),
    (f"{T}\\boxed{{not B}}", "B", 0, 0),
    (f"{T}\\boxed{{2\\sqrt{{3}} \\text{{ cm}}^2}}", "2\\sqrt{3}", 1, 1),
    (f"{T}\\boxed{{60^\\circ}}", "60", 1, 1),
    (f"{T}\\boxed{{60 ^ {{\\circ}}}}", "60°", 1, 1),
    (f"{T}\\boxed{{\\angle ABC = 60^\\circ}}", "60°", 1, 1),
    (f"{T}\\boxed{{$12.50}}", "12.5", 1, 1),
    (f"{T}\\boxed{{\\$12.50}}", "12.5 dollars", 1, 1),
    (f"{T}\\boxed{{45\\%}}", "45%", 1, 1),
    (f"{T}\\boxed{{45\\%}}", "0.45", 1, 1),
    (f"{T}\\boxed{{3.2 \\times 10^4 \\, \\text{{J}}}}", "32 kJ", 1, 1),
    (f"{T}\\boxed{{3.2 \\times 10^5 \\, \\text{{J}}}}", "32 kJ", 0, 0),
    (f"{T}\\boxed{{\\begin{{cases}} x = 1 \\\\ y = 2 \\end{{cases}}}}", "x=1, y=2", 1, 1),
    (f"{T}\\boxed{{\\left(-\\infty, 3\\right]}}", "x \\leq 3", 1, 1),
    (f"{T}\\boxed{{\\text{{The color is blue.}}}}", "blue", 1, 1),
    (f"{T}\\boxed{{\\text{{Yes, the two are equal}}}}", "Yes", 1, 1),
    (f"{T}\\boxed{{\\text{{No}}}}", "Yes", 0, 0),
    (f"{T}\\boxed{{July}} because the bar is the tallest.", "July", 1, 1),
    (f"{T}\\boxed{{\\text{{1, 2, 3}}}}", "\\{1,2,3\\}", 1, 1),
    (f"{T}\\boxed{{}}", "5", 0, 0),
    (f"{T}\\boxed{{5", "5", 0, 0),
    ("<think>It is \\boxed{5}.", "5", 0, 0),
    ("<think>It is \\boxed{5}.</think>", "5", 0, 0),
    ("<think>It is \\boxed{5}.</think>\nIt is 5.", "5", 0, 1),
    ("<think>It is \\boxed{6}.</think>\n\\boxed{5}", "5", 1, 1),
    (f"{T}The answer is 5.", "5", 0, 1),
    (f"{T}**Final Answer**\n\n5", "5", 0, 1),
    (f"{T}**Final Answer:**\n\n**B**\n\nThe arc is 240.", "B", 0, 1),
    (f"{T}Answer: B. The arc is 240.", "B", 0, 1),
    (f"{T}The correct option is (B).", "B", 0, 1),
    (f"{T}The correct answer is **B. 12 cm**.", "B", 0, 1),
    (f"{T}Therefore, the correct answer is:\n\n**(B) 12 cm**", "B", 0, 1),
    (f"{T}Option B is correct.", "B", 0, 1),
    (f"{T}So the answer is A or B.", "B", 0, 0),
    (f"{T}{LONG}\n\nHence the area is 12 cm².", "12", 0, 1),
    (f"{T}{LONG}\n\nThe final answer is $12$.", "12", 0, 1),
    (f"{T}<answer>12</answer>", "12", 0, 1),
    (f"{T}<answer>\\boxed{{12}}</answer>", "12", 1, 1),
    (f"{T}<answer>\n12 cm\n</answer>", "12", 0, 1),
    (f"{T}**答案\uff1aB**", "B", 0, 1),
    (f"{T}故选\uff1aB", "B", 0, 1),
    (f"{T}所以答案是 $\\boxed{{60}}$ 度。", "60", 1, 1),
    (f"{T}1. Add.\n2. Divide.\n\n- **Answer:** 5", "5", 0, 1),
    (f"{T}```\n\\boxed{{5}}\n```", "5", 1, 1),
    (f"{T}The answer is: `5`", "5", 0, 1),
    (f"{T}I am not sure, but I choose B", "B", 0, 1),
    (f"{T}> **Answer**: 5 meters", "5 m", 0, 1),
    (f"{T}Answer: 5 m/s (rounded)", "5 km/s", 0, 0),
    (f"{T}Answer: 5 cm (rounded)", "5 cm", 0, 1),
    (f"{T}Answer: 5 (approximately 6)", "5", 0, 0),
    (f"{T}Answer:\n- B", "B", 0, 1),
    (f"{T}Answer:\n- 5", "5", 0, 0),
    (f"{T}Answer:\n* 5", "5", 0, 1),
    (f"{T}The answer is:\n\\[\n5\n\\]", "5", 0, 1),
    (f"{T}The answer is:\n$$\n5\n$$", "5", 0, 1),
    (f"{T}Therefore, the value of x is:\n\n\\[ x = 5 \\]", "5", 0, 1),
    (f"{T}Final Answer: The final answer is $5$. I hope it is correct.", "5", 0, 1),
    (f"{T}The answer would be 5", "5", 0, 1),
    (f"{T}The answer should be B.", "B", 0, 1),
    (f"{T}✅ **B**", "B", 0, 1),
    (f"{T}Final answer: x = 5 ✅", "5", 0, 1),
    (f"{T}The answer is <b>5</b>.", "5", 0, 1),
    (f"{T}Ans. 5", "5", 0, 1),
    (f"{T}答案为\uff1a5", "5", 0, 1),
    (f"{T}答:5", "5", 0, 1),
    (f"{T}Hence the angle ABC measures 60 degrees.", "60", 0, 1),
    (f"{T}The answer is 5 or 6.", "5", 0, 0),
    (f"{T}The answer is not 5.", "5", 0, 0),
]


@pytest.mark.parametrize(("response", "reference", "boxed", "read"), RESPONSES)
def test_the_verdict_on_a_whole_response(response, reference, boxed, read):
    assert accuracy([response], answer=[reference]) == [boxed]
    answer = final(response)
    assert correct(answer, reference) is bool(read), answer


REFERENCES = [  # reference, right answers, wrong ones
    ("42", ["42", "42.0"], ["24"]),
    ("$42$", ["42"], ["24"]),
    ("\\(42\\)", ["42"], ["24"]),
    ("42.", ["42"], ["41"]),
    (" 42 \n", ["42"], ["4"]),
    ("#### 42", ["42"], ["4"]),
    ("6 * 7 = <<6*7=42>>42\n#### 42", ["42"], ["6", "7"]),
    ("#### 1,200", ["1200"], ["1"]),
    ("#### $18", ["18", "$18"], ["€18"]),
    ("\\boxed{42}", ["42"], ["24"]),
    ("$\\boxed{42}$", ["42"], ["24"]),
    ("Thus \\boxed{\\frac{1}{2}}.", ["1/2", "0.5"], ["2"]),
    ("<answer>42</answer>", ["42"], ["24"]),
    ("<answer> C </answer>", ["C", "(C)"], ["D"]),
    ("<answer>C. 42</answer>", ["C", "42"], ["D", "41"]),
    ("<think>6 * 7</think><answer>42</answer>", ["42"], ["6"]),
    ("The answer is 42.", ["42"], ["24"]),
    ("Answer: 42", ["42"], ["24"]),
    ("answer: C", ["C"], ["A"]),
    ("ANSWER: C", ["C"], ["A"]),
    ("The correct answer is C.", ["C"], ["A"]),
    ("Therefore, the answer is (C).", ["C"], ["A"]),
    ("**42**", ["42"], ["24"]),
    ("Final answer: **42**", ["42"], ["24"]),
    ("C", ["C", "c", "Option C"], ["A", "CD"]),
    ("(C)", ["C"], ["A"]),
    ("C.", ["C"], ["A"]),
    ("C) 42", ["C", "42"], ["A"]),
    ("C: 42", ["C", "42"], ["A"]),
    ("Option C", ["C"], ["A"]),
    ("A,C", ["AC", "A and C"], ["A", "A or C"]),
    ("['A', 'C']", ["AC", "A, C"], ["A"]),
    ("['42']", ["42"], ["24"]),
    ('["42"]', ["42"], ["24"]),
    ("['42', '42.0']", ["42"], ["24"]),
    ("['yes', 'Yes']", ["yes"], ["no"]),
    ("[42]", ["42"], ["24"]),
    ("42 cm", ["42", "42 cm", "0.42 m"], ["42 m"]),
    ("42cm", ["42", "42 cm"], ["42 mm"]),
    ("42 \\mathrm{~cm}", ["42 cm", "42"], ["42 m"]),
    ("42^\\circ", ["42", "42°"], ["24"]),
    ("42^{\\circ} \\mathrm{C}", ["42 °C", "42"], ["42 °F"]),
    ("42\\%", ["42%", "42", "0.42"], ["4.2"]),
    ("\\$42", ["42", "$42"], ["€42"]),
    ("\\frac{42}{5}", ["8.4", "42/5"], ["5/42"]),
    ("8\\frac{2}{5}", ["8.4", "42/5"], ["16/5"]),
    ("x=42", ["42", "x = 42"], ["y = 42"]),
    ("x = 1 or x = 2", ["1, 2", "2 or 1"], ["1"]),
    ("$x_{1}=1, x_{2}=2$", ["1, 2", "x=1 or x=2"], ["1"]),
    ("\\left\\{\\begin{array}{l}x=1 \\\\ y=2\\end{array}\\right.", ["x=1, y=2"], ["x=2, y=1"]),
    ("$\\left(1, 2\\right)$", ["(1,2)"], ["(2,1)"]),
    ("Yes", ["yes", "Yes."], ["No"]),
    ("True", ["true"], ["False"]),
    ("No, because they differ.", ["No", "no"], ["Yes"]),
    ("left", ["Left", "on the left"], ["right"]),
    ("isosceles triangle", ["an isosceles triangle"], ["triangle"]),
    ("①③", ["①③", "①、③"], ["①", "13"]),
    ("60度", ["60", "60°"], ["6"]),
    ("5千米", ["5 km", "5"], ["5 m"]),
    ("March 5, 2020", ["5 March 2020", "2020-03-05"], ["March 6, 2020"]),
    ("AB∥CD", ["AB \\parallel CD", "AB // CD"], ["AB \\perp CD"]),
    ("2015", ["2015", "in 2015"], ["2016"]),
    ("three", ["3", "three"], ["2"]),
    ("1:2", ["1:2", "1/2"], ["2:1"]),
]


@pytest.mark.parametrize(("written", "right", "wrong"), REFERENCES)
def test_the_answer_that_a_reference_states(written, right, wrong):
    assert fault(written) is None
    assert accuracy([perfect(written)], answer=[written]) == [1.0]
    assert [answer for answer in right if not correct(answer, written)] == []
    assert [answer for answer in wrong if correct(answer, written)] == []


def test_there_are_sixty_of_each_and_none_twice():
    assert len({response[:2] for response in RESPONSES}) == len(RESPONSES) >= 60
    assert len({written for written, *_ in REFERENCES}) == len(REFERENCES) >= 60
