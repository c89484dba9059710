import threading
import time

import cv2
import pytest

from leukemia.data.files.images import in_threads


def test_results_come_in_the_order_of_the_items():
    def slow_first(number: int) -> int:
        time.sleep(0.02 if number == 0 else 0)
        return number * number

    assert list(in_threads(slow_first, range(20), workers=4, ahead=3)) == [
        number * number for number in range(20)
    ]


def test_no_more_results_wait_than_allowed():
    taken = []

    def items():
        for number in range(100):
            taken.append(number)
            yield number

    results = in_threads(lambda number: number, items(), workers=2, ahead=5)
    assert next(results) == 0
    assert len(taken) == 6
    results.close()


def test_an_error_is_raised_where_its_result_is_taken():
    results = in_threads(lambda number: 1 / number, [1, 0, 2], workers=2)
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_opencv_has_one_thread_while_others_work_and_its_own_after():
    before = cv2.getNumThreads()
    cv2.setNumThreads(2)
    assert set(in_threads(lambda _: cv2.getNumThreads(), range(4), workers=2)) == {1}
    assert cv2.getNumThreads() == 2
    cv2.setNumThreads(before)


def test_leaving_early_stops_the_threads():
    results = in_threads(lambda number: time.sleep(0.01), range(10_000), workers=2)
    next(results)
    results.close()
    assert not any("ThreadPool" in thread.name for thread in threading.enumerate())
