//! No receipt lost, none billed twice: members and billing peer through loss, duplication, reordering, clocks
//! that jump, and restarts of either, in any order.

use proptest::prelude::*;

use super::*;
use crate::billing::outbox::{MAX_DELAY, courier::settle};

#[derive(Debug, Clone)]
enum Step {
    /// The next report comes up, at its member's.
    Report,
    /// A due receipt is sent, booked, and the answer arrives.
    Deliver(usize),
    /// A due receipt is sent and gets lost.
    LoseRequest(usize),
    /// A due receipt is sent and booked, the answer gets lost.
    LoseAnswer(usize),
    /// A request from before arrives once more.
    Replay(usize),
    /// The member is killed and comes back.
    RestartMember,
    /// The billing peer is killed and comes back.
    RestartBilling,
    /// The member's clock jumps to so many hours after the beginning.
    SetClock(u64),
    /// The billing peer's clock jumps.
    SetBillingClock(u64),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Report),
        4 => any::<usize>().prop_map(Step::Deliver),
        2 => any::<usize>().prop_map(Step::LoseRequest),
        2 => any::<usize>().prop_map(Step::LoseAnswer),
        2 => any::<usize>().prop_map(Step::Replay),
        1 => Just(Step::RestartMember),
        1 => Just(Step::RestartBilling),
        1 => (0..100u64).prop_map(Step::SetClock),
        1 => (0..100u64).prop_map(Step::SetBillingClock),
    ]
}

struct World {
    disk: Disk,
    outbox: Outbox,
    pool: Pool<Sqlite>,
    service: Service,
    reports: Vec<(Right, Verified<Receipt>)>,
    reported: usize,
    sent: Vec<Parcel>,
    clock: Timestamp,
    billing_clock: Timestamp,
}

impl World {
    async fn new() -> Self {
        let disk = Disk::new().await;
        let (pool, service) = (disk.pool().await, disk.service().await);
        let outbox = Outbox::new(pool.clone());
        let reports = reports();
        Self {
            disk,
            outbox,
            pool,
            service,
            reports,
            reported: 0,
            sent: vec![],
            clock: NOW,
            billing_clock: NOW,
        }
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Report => self.report().await,
            Step::Deliver(which) => {
                if let Some(parcel) = self.take_due(which).await {
                    let response = self.book(&parcel).await;
                    settle(&self.outbox, &parcel, response, self.clock).await.unwrap();
                }
            }
            Step::LoseRequest(which) => {
                if let Some(parcel) = self.take_due(which).await {
                    self.outbox
                        .failed(receipt_in(&parcel), parcel.billing, "lost", self.clock)
                        .await
                        .unwrap();
                }
            }
            Step::LoseAnswer(which) => {
                if let Some(parcel) = self.take_due(which).await {
                    self.book(&parcel).await;
                    self.outbox
                        .failed(receipt_in(&parcel), parcel.billing, "lost", self.clock)
                        .await
                        .unwrap();
                }
            }
            Step::Replay(which) => {
                if !self.sent.is_empty() {
                    let parcel = self.sent[which % self.sent.len()].clone();
                    let response = self.book(&parcel).await;
                    settle(&self.outbox, &parcel, response, self.clock).await.unwrap();
                }
            }
            Step::RestartMember => {
                self.pool.close().await;
                self.pool = self.disk.pool().await;
                self.outbox = Outbox::new(self.pool.clone());
            }
            Step::RestartBilling => {
                self.service.book().close().await;
                self.service = self.disk.service().await;
            }
            Step::SetClock(hours) => self.clock = Timestamp::default() + HOUR * u32::try_from(hours).unwrap(),
            Step::SetBillingClock(hours) => self.billing_clock = NOW + HOUR * u32::try_from(hours).unwrap(),
        }
    }

    async fn report(&mut self) {
        let Some((right, receipt)) = self.reports.get(self.reported) else {
            return;
        };
        let mut tx = self.pool.begin().await.unwrap();
        self.outbox.enqueue(&mut tx, right, receipt, self.clock).await.unwrap();
        tx.commit().await.unwrap();
        self.reported += 1;
    }

    async fn take_due(&mut self, which: usize) -> Option<Parcel> {
        let due = self.outbox.due(self.clock).await.unwrap();
        let parcel = due.get(which.checked_rem(due.len())?)?.clone();
        self.sent.push(parcel.clone());
        Some(parcel)
    }

    async fn book(&self, parcel: &Parcel) -> BillingResponse {
        self.service.handle(peer(99), parcel.request.clone(), self.billing_clock).await
    }

    /// The network heals, and everything that is left is reported and delivered.
    async fn heal(&mut self) {
        while self.reported < self.reports.len() {
            self.report().await;
        }
        for _ in 0..100 {
            self.clock = self.clock + MAX_DELAY;
            self.step(Step::Deliver(0)).await;
        }
    }
}

/// Host and two members of a ticket: each receives (one of them reports it twice), starts and uses it.
fn reports() -> Vec<(Right, Verified<Receipt>)> {
    let ticket = usual_ticket();
    let copies = [
        (host_right(&ticket), HOST),
        (member_right(&ticket, 0, MEMBER), MEMBER),
        (member_right(&ticket, 1, 11), 11),
    ];
    let mut reports = Vec::new();
    for (right, who) in copies {
        let used = ReceiptKind::Used { from: NOW, to: NOW + HOUR };
        for kind in [ReceiptKind::Received, ReceiptKind::Started, used, ReceiptKind::Ended] {
            reports.push((right.clone(), receipt(&right, who, kind, NOW + HOUR)));
        }
        if who == MEMBER {
            let again = receipt(&right, who, ReceiptKind::Received, NOW + 2 * HOUR);
            reports.push((right.clone(), again));
        }
    }
    reports
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 40, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_and_nothing_billed_twice(steps in prop::collection::vec(any_step(), 0..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new().await;
            for step in steps {
                world.step(step).await;
            }
            world.heal().await;
            prop_assert_eq!(world.outbox.unacknowledged().await.unwrap(), []);
            let booked = world.service.book().receipts().await.unwrap();
            prop_assert_eq!(booked.len(), world.reports.len() - 1, "all but the report made twice");
            prop_assert!(booked.iter().zip(1..).all(|(booked, position)| booked.position == position));
            let entries = world.service.book().entries(None).await.unwrap();
            let statement = Statement::of(&entries).unwrap();
            prop_assert_eq!(statement.receptions, 3);
            prop_assert_eq!(statement.total[0].amount, 2 * 100 + 3 * (5 + 7 + 60));
            prop_assert!(world.outbox.all().await.unwrap().iter().all(|entry| entry.position.is_some()));
            Ok(())
        })?;
    }
}
