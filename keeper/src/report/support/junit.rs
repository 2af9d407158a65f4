//! The results for CI, as `JUnit`'s XML: a suite for each worker, a case for each check.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::{Cell, Outcome, Results};

impl Results {
    /// The XML.
    pub fn junit(&self) -> Result<String, quick_junit::SerializeError> {
        let mut report = Report::new(format!("rbee test of {}", self.fleet));
        let mut cells: Vec<&Cell> = self.cells.iter().collect();
        cells.sort_by(|one, other| one.worker.cmp(&other.worker));
        for of_worker in cells.chunk_by(|one, other| one.worker == other.worker) {
            let Some(first) = of_worker.first() else {
                continue;
            };
            let mut suite = TestSuite::new(first.worker.to_string());
            suite.add_property(("model", first.model.as_str()));
            suite.add_test_cases(of_worker.iter().map(|cell| case(cell)));
            report.add_test_suite(suite);
        }
        report.to_string()
    }
}

fn case(cell: &Cell) -> TestCase {
    let status = match &cell.outcome {
        Outcome::Passed => TestCaseStatus::success(),
        Outcome::Failed { assertion, why } => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status
                .set_type(assertion.to_string())
                .set_message(why.as_str());
            status
        }
        Outcome::NotRun { why, .. } => {
            let mut status = TestCaseStatus::skipped();
            status.set_message(why.as_str());
            status
        }
    };
    let mut case = TestCase::new(cell.check.as_str(), status);
    case.set_classname(cell.worker.to_string());
    if let Some(tested) = &cell.tested {
        case.set_time(Duration::from_millis(tested.took_ms));
    }
    if let Some(measured) = cell.tested.as_ref().and_then(|tested| tested.measured) {
        if let Some(rate) = measured.tokens_per_s {
            case.add_property(("tokens_per_s", format!("{rate:.1}").as_str()));
        }
        case.add_property(("memory_bytes", measured.memory.to_string().as_str()));
    }
    case
}
