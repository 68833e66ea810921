//! Callers that wait for several answers at once.

use crate::relay::{Answer, Refused, ReplyTo, Ticket};
use std::collections::HashMap;
use tokio::sync::oneshot;

/// One answer.
pub(super) type Asked = Result<Answer, Refused>;

struct Ask {
    answers: Vec<Option<Asked>>,
    left: usize,
    caller: oneshot::Sender<Vec<Asked>>,
}

/// Questions under way. A ticket is the ask's number and, in the low 20 bits, the question's place in it.
#[derive(Default)]
pub(super) struct Asks {
    next: u64,
    open: HashMap<u64, Ask>,
}

const PLACES: u64 = 20;

impl Asks {
    /// Registers `count` questions; gives where each one's answer goes.
    pub fn begin(
        &mut self,
        count: usize,
        caller: oneshot::Sender<Vec<Asked>>,
    ) -> impl Iterator<Item = ReplyTo> + use<> {
        self.next += 1;
        let number = self.next;
        self.open.insert(number, Ask { answers: (0..count).map(|_| None).collect(), left: count, caller });
        (0..count as u64).map(move |place| ReplyTo::Ticket(Ticket(number << PLACES | place)))
    }

    /// An answer has come; when it was the last, the caller has them all.
    pub fn answer(&mut self, ticket: Ticket, answer: Asked) {
        let (number, place) = (ticket.0 >> PLACES, ticket.0 & ((1 << PLACES) - 1));
        let Some(ask) = self.open.get_mut(&number) else { return };
        if let Some(slot) = ask.answers.get_mut(place as usize)
            && slot.replace(answer).is_none()
        {
            ask.left -= 1;
        }
        if ask.left == 0
            && let Some(ask) = self.open.remove(&number)
        {
            // A caller that has gone away needs no answers.
            let _ = ask
                .caller
                .send(ask.answers.into_iter().map(|answer| answer.unwrap_or(Err(Refused::Ended))).collect());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_in_the_order_of_the_questions() {
        let mut asks = Asks::default();
        let (caller, mut answers) = oneshot::channel();
        let tickets: Vec<_> = asks.begin(2, caller).collect();
        let give = |asks: &mut Asks, at: usize, unread| match tickets[at] {
            ReplyTo::Ticket(ticket) => asks.answer(ticket, Ok(Answer::Unread(unread))),
            ReplyTo::Session(..) | ReplyTo::Peer(..) => unreachable!(),
        };
        give(&mut asks, 1, 20);
        assert!(answers.try_recv().is_err());
        give(&mut asks, 1, 21); // a second answer to one question counts once
        give(&mut asks, 0, 10);
        assert_eq!(answers.try_recv().unwrap(), [Ok(Answer::Unread(10)), Ok(Answer::Unread(21))]);
    }
}
