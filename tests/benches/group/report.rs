//! What comes out: a table a case, a verdict, and one line of JSON with all of it.

use serde_json::{Value, json};

use crate::{
    MOST_FOR_SEALS, Scenario,
    record::median,
    seal::Cost,
    stack::{Kind, Transport},
};

/// One round of one stack.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// Seconds.
    pub(crate) p50: f64,
    /// Seconds.
    pub(crate) p99: f64,
    /// Processor time of one delivery, seconds.
    pub(crate) cpu: f64,
    /// Deliveries.
    pub(crate) lost: usize,
}

/// All rounds of one stack.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) samples: Vec<Sample>,
}

impl Row {
    fn middle(&self, of: impl Fn(&Sample) -> f64) -> f64 {
        median(self.samples.iter().map(of).collect())
    }

    fn lost(&self) -> usize {
        self.samples.iter().map(|sample| sample.lost).sum()
    }

    /// How many times as much as this one `whole` has, in the same rounds.
    fn ratio(&self, whole: &Row, of: impl Fn(&Sample) -> f64) -> f64 {
        median(whole.samples.iter().zip(&self.samples).map(|(one, other)| of(one) / of(other)).collect())
    }
}

/// One scenario over one transport. The first row is Parlor's.
pub(crate) struct Case {
    pub(crate) transport: Transport,
    pub(crate) scenario: &'static Scenario,
    pub(crate) seals: Cost,
    pub(crate) rows: Vec<Row>,
}

impl Case {
    /// Which share of a delivery's processor time is its seal.
    fn share(&self) -> f64 {
        self.seals.per_delivery(self.scenario.members) / 1e9 / self.rows[0].middle(|sample| sample.cpu)
    }

    fn print(&self) {
        let Scenario { kind, size, members, senders, pace } = *self.scenario;
        println!(
            "\n{} of {size} bytes, {members} members, {senders} of them say {pace} a second ({})",
            kind.name(),
            self.transport.name()
        );
        println!(
            "  {:<16}{:>10}{:>10}{:>16}{:>8}   Parlor's as a multiple: p50, p99, CPU",
            "", "p50 ms", "p99 ms", "CPU us/delivery", "lost"
        );
        for row in &self.rows {
            println!(
                "  {:<16}{:>10.2}{:>10.2}{:>16.1}{:>8}   {:>16.2}{:>8.2}{:>8.2}",
                row.name,
                row.middle(|sample| sample.p50) * 1e3,
                row.middle(|sample| sample.p99) * 1e3,
                row.middle(|sample| sample.cpu) * 1e6,
                row.lost(),
                row.ratio(&self.rows[0], |sample| sample.p50),
                row.ratio(&self.rows[0], |sample| sample.p99),
                row.ratio(&self.rows[0], |sample| sample.cpu),
            );
        }
        println!(
            "  seal {:.2} us, open {:.2} us: {:.1} % of a delivery's CPU",
            self.seals.seal / 1e3,
            self.seals.open / 1e3,
            self.share() * 1e2
        );
    }

    fn json(&self) -> Value {
        let Scenario { kind, size, members, senders, pace } = *self.scenario;
        let rows = self.rows.iter().map(|row| {
            json!({
                "stack": row.name,
                "p50_us": row.middle(|sample| sample.p50) * 1e6,
                "p99_us": row.middle(|sample| sample.p99) * 1e6,
                "cpu_us": row.middle(|sample| sample.cpu) * 1e6,
                "lost": row.lost(),
                "parlor_cpu_ratio": row.ratio(&self.rows[0], |sample| sample.cpu),
                "parlor_p50_ratio": row.ratio(&self.rows[0], |sample| sample.p50),
            })
        });
        json!({
            "kind": kind.name(),
            "transport": self.transport.name(),
            "size": size,
            "members": members,
            "senders": senders,
            "per_second": pace,
            "seal_ns": self.seals.seal,
            "open_ns": self.seals.open,
            "seal_share": self.share(),
            "rows": rows.collect::<Vec<_>>(),
        })
    }

    /// What is not as it should be.
    fn faults(&self) -> Vec<String> {
        let Scenario { kind, size, members, senders, .. } = *self.scenario;
        let what = format!("{} of {size} bytes at {members} members", kind.name());
        let (share, lost) = (self.share(), self.rows[0].lost());
        let mut faults = Vec::new();
        // So that what is not a number is a fault too.
        if !(share > 0.0 && share <= MOST_FOR_SEALS) {
            faults.push(format!("{what}: the seal is {:.1} % of a delivery's processor time", share * 1e2));
        }
        if lost > 0 && (kind == Kind::Updates || senders == members) {
            faults.push(format!("{what}: {lost} deliveries were lost"));
        }
        faults
    }
}

/// Of the whole run.
#[derive(Default)]
pub(crate) struct Report {
    cases: Vec<Value>,
    faults: Vec<String>,
}

impl Report {
    pub(crate) fn add(&mut self, case: Case) {
        case.print();
        self.cases.push(case.json());
        self.faults.extend(case.faults());
    }

    /// The last line. Whether all is as it should be.
    pub(crate) fn finish(&self) -> bool {
        for fault in &self.faults {
            eprintln!("{fault}");
        }
        println!("\n{}", json!({ "bench": "group", "cases": self.cases, "faults": self.faults }));
        self.faults.is_empty()
    }
}
