//! What a closed group costs beside what it stands on: from "a member says it" to "each other member has it", and the
//! processor time of one such delivery, for realtime messages and for updates, at 2, 8 and 32 members; against bare
//! gossipsub and against a bare stream for each pair, in the same run, all nodes in one process on loopback.
//!
//! Everything that is compared meets the same machine: rounds of the three take turns, ratios are those of one turn,
//! and the middle of all rounds counts. Processor time is what the process uses in a round, less what all nodes together
//! use at rest in as much time.
//!
//! Fails if sealing and opening cost more than [`MOST_FOR_SEALS`] of a delivery's processor time, or if a realtime message
//! is lost where everybody plays. `cargo bench -p parlor-tests --bench group [-- tcp|quic|2|8|32|realtime|updates...]`:
//! any of these words narrows it down; over QUIC only if asked for. Databases are where `TMPDIR` says.

mod bare;
mod gossip;
mod parlor;
mod record;
mod report;
mod seal;
#[path = "../shared/site.rs"]
mod site;
mod stack;
mod streams;

use std::{process::ExitCode, sync::Arc, time::Duration};

use anyhow::Result;
use parlor_proto::group::lanes::Lane;
use tokio::{
    runtime::Builder,
    time::{Instant, sleep, sleep_until},
};

use self::{
    record::{Plan, Record, cpu, quantile},
    report::{Case, Report, Row, Sample},
    site::PATIENCE,
    stack::{Kind, Stack, Transport},
};

/// The share of a delivery's processor time that its seal may cost.
pub(crate) const MOST_FOR_SEALS: f64 = 0.1;
/// How often each is measured, after once to warm up.
const ROUNDS: usize = 9;
/// Of saying things, in one round.
const ROUND: Duration = Duration::from_secs(1);
/// How long after that a realtime message counts as lost.
const LOST: Duration = Duration::from_secs(2);
/// How long the nodes are watched at rest.
const REST: Duration = Duration::from_secs(2);

/// One way of using a group.
pub(crate) struct Scenario {
    pub(crate) kind: Kind,
    /// Bytes.
    pub(crate) size: usize,
    pub(crate) members: usize,
    pub(crate) senders: usize,
    /// Messages a second of each sender.
    pub(crate) pace: u32,
}

const fn scenario(kind: Kind, size: usize, members: usize, senders: usize, pace: u32) -> Scenario {
    Scenario { kind, size, members, senders, pace }
}

/// Realtime: a game at 60 Hz; everybody plays, in a large group some do.
static SCENARIOS: [Scenario; 9] = [
    scenario(Kind::Realtime, 64, 2, 2, 60),
    scenario(Kind::Realtime, 1024, 2, 2, 60),
    scenario(Kind::Updates, 256, 2, 2, 10),
    scenario(Kind::Realtime, 64, 8, 8, 60),
    scenario(Kind::Realtime, 1024, 8, 8, 60),
    scenario(Kind::Updates, 256, 8, 8, 5),
    scenario(Kind::Realtime, 64, 32, 4, 60),
    scenario(Kind::Realtime, 1024, 32, 4, 60),
    scenario(Kind::Updates, 256, 32, 2, 5),
];

impl Scenario {
    fn plan(&self) -> Plan {
        let messages = (ROUND.as_secs_f64() * f64::from(self.pace)) as usize;
        Plan { members: self.members, senders: self.senders, messages, size: self.size }
    }

    /// As asked for on the command line: any of the words of each sort; without one all, and TCP.
    fn is_wanted(&self, transport: Transport, words: &[String]) -> bool {
        let asks = |word: &str| words.iter().any(|one| one.eq_ignore_ascii_case(word));
        let sorts: [(&[&str], String); 2] = [
            (&["2", "8", "32"], self.members.to_string()),
            (&["realtime", "updates"], self.kind.name().to_owned()),
        ];
        let is_transport = match transport {
            Transport::Tcp => asks("tcp") || !asks("quic"),
            Transport::Quic => asks("quic"),
        };
        is_transport && sorts.iter().all(|(all, mine)| !all.iter().any(|word| asks(word)) || asks(mine))
    }
}

fn main() -> Result<ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let mut report = Report::default();
    for transport in [Transport::Tcp, Transport::Quic] {
        for of_a_size in SCENARIOS.chunk_by(|one, other| one.members == other.members) {
            let wanted: Vec<_> = of_a_size.iter().filter(|one| one.is_wanted(transport, &words)).collect();
            if let Some(first) = wanted.first() {
                measure(transport, first.members, &wanted, &mut report)?;
            }
        }
    }
    Ok(if report.finish() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// All scenarios with groups of one size.
fn measure(
    transport: Transport,
    members: usize,
    wanted: &[&'static Scenario],
    report: &mut Report,
) -> Result<()> {
    // First, while there is nothing else that uses the processor.
    let mut cases = Vec::new();
    for scenario in wanted {
        let lane = match scenario.kind {
            Kind::Realtime => Lane::Realtime,
            Kind::Updates => Lane::Updates,
        };
        let seals = seal::cost(lane, members, scenario.size)?;
        cases.push(Case { transport, scenario, seals, rows: Vec::new() });
    }
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let cases = runtime.block_on(runtime.spawn(run(transport, members, cases)))??;
    cases.into_iter().for_each(|case| report.add(case));
    // With that many nodes goodbyes take a while, and nobody waits for them.
    runtime.shutdown_background();
    Ok(())
}

/// Fills in the rows.
async fn run(transport: Transport, members: usize, mut cases: Vec<Case>) -> Result<Vec<Case>> {
    let record = Arc::new(Record::new());
    let stacks: Vec<Arc<dyn Stack>> =
        stack::all(transport, members, &record).await?.into_iter().map(Arc::from).collect();
    sleep(REST).await;
    let before = cpu();
    sleep(REST).await;
    let at_rest = (cpu() - before).as_secs_f64() / REST.as_secs_f64();
    for case in &mut cases {
        case.rows = stacks.iter().map(|stack| Row { name: stack.name(), samples: Vec::new() }).collect();
        for round in 0..=ROUNDS {
            // Whoever is first in one round is not in the next; the first round warms up.
            for turn in 0..stacks.len() {
                let turn = (turn + round) % stacks.len();
                let sample = sample(case.scenario, &stacks[turn], &record, at_rest).await?;
                if round > 0 {
                    case.rows[turn].samples.push(sample);
                }
            }
        }
    }
    Ok(cases)
}

/// One round of one stack.
async fn sample(
    scenario: &Scenario,
    stack: &Arc<dyn Stack>,
    record: &Arc<Record>,
    at_rest: f64,
) -> Result<Sample> {
    let plan = scenario.plan();
    record.begin(&plan);
    let (started, before) = (Instant::now(), cpu());
    let speakers = (0..plan.senders).map(|sender| {
        tokio::spawn(speak(sender, scenario.kind, plan, Arc::clone(stack), Arc::clone(record)))
    });
    for speaker in speakers.collect::<Vec<_>>() {
        speaker.await??;
    }
    record.settle(if scenario.kind == Kind::Realtime { LOST } else { PATIENCE }).await;
    let (spent, took) = (cpu() - before, started.elapsed());
    let (mut latencies, lost) = record.end();
    latencies.sort_unstable();
    let net = spent.as_secs_f64() - at_rest * took.as_secs_f64();
    let heard = latencies.len().max(1) as f64;
    Ok(Sample {
        p50: quantile(&latencies, 0.5).as_secs_f64(),
        p99: quantile(&latencies, 0.99).as_secs_f64(),
        cpu: net / heard,
        lost,
    })
}

/// At the scenario's pace; the senders begin one after the other, as players do.
async fn speak(
    sender: usize,
    kind: Kind,
    plan: Plan,
    stack: Arc<dyn Stack>,
    record: Arc<Record>,
) -> Result<()> {
    let every = ROUND / plan.messages as u32;
    let begin = Instant::now() + every * sender as u32 / plan.senders as u32;
    for number in 0..plan.messages {
        sleep_until(begin + every * number as u32).await;
        stack.say(sender, kind, record.message(sender, number, plan.size)).await?;
    }
    Ok(())
}
