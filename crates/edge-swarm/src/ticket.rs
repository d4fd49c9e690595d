//! One-time tickets: what a newcomer needs to find a pool and be let in.

use std::{fmt, str::FromStr};

use edge_base::{Credits, Digest, NodeId, codec};
use serde::{Deserialize, Serialize};

use crate::message::{ADDRESS_BYTES_MAX, ADDRESSES_MAX};

const PREFIX: &str = "edgenet1";
const TEXT_BYTES_MAX: usize = 8 * 1024;

/// An invitation. Whoever presents the secret first becomes a member.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Ticket {
    /// The pool's genesis hash.
    pub pool: Digest,
    /// The member that wrote the ticket and admits.
    pub inviter: NodeId,
    /// Where the inviter may be reached.
    pub addresses: Vec<String>,
    /// Known to the inviter by its hash only.
    pub secret: [u8; 16],
    /// Granted on arrival.
    pub credits: Credits,
    /// Whether the newcomer belongs to the inviter's owner.
    pub owner: bool,
}

/// What a ticket is called where it was made: its secret is kept nowhere.
pub(crate) fn ticket_id(secret: &[u8; 16]) -> Digest {
    Digest::of_value("invite", secret)
}

impl Ticket {
    /// What it is called by the node that made it.
    pub fn id(&self) -> Digest {
        ticket_id(&self.secret)
    }
}

/// A text that is not a ticket: the caller's fault.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TicketError {
    /// It does not begin like one.
    #[error("a ticket begins with {PREFIX}; make one with `edge-net identity invite`")]
    Prefix,
    /// Characters are missing, added or changed.
    #[error(
        "the ticket is damaged: copy all of it, or make a new one with `edge-net identity invite`"
    )]
    Damaged,
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = codec::encode(self);
        let check = Digest::of_value("ticket", body.as_slice());
        f.write_str(PREFIX)?;
        body.iter().chain(&check.0[..4]).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Ticket {
    type Err = TicketError;

    fn from_str(text: &str) -> Result<Self, TicketError> {
        let hex = text.trim().strip_prefix(PREFIX).ok_or(TicketError::Prefix)?;
        if hex.len() > TEXT_BYTES_MAX || hex.len() % 2 != 0 || !hex.is_ascii() {
            return Err(TicketError::Damaged);
        }
        let bytes: Option<Vec<u8>> = (0..hex.len() / 2)
            .map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).ok())
            .collect();
        let bytes = bytes.ok_or(TicketError::Damaged)?;
        let cut = bytes.len().checked_sub(4).ok_or(TicketError::Damaged)?;
        let (body, check) = bytes.split_at(cut);
        if Digest::of_value("ticket", body).0[..4] != *check {
            return Err(TicketError::Damaged);
        }
        let ticket: Ticket = codec::decode(body).map_err(|_| TicketError::Damaged)?;
        let bounded = ticket.addresses.len() <= ADDRESSES_MAX
            && ticket.addresses.iter().all(|a| a.len() <= ADDRESS_BYTES_MAX);
        if bounded { Ok(ticket) } else { Err(TicketError::Damaged) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Ticket {
        Ticket {
            pool: Digest::of(b"pool"),
            inviter: NodeId([3; 32]),
            addresses: vec!["/ip4/127.0.0.1/tcp/1".into()],
            secret: [9; 16],
            credits: Credits::from_micro(5),
            owner: true,
        }
    }

    #[test]
    fn text_round_trip_and_every_changed_digit_is_refused() {
        let text = sample().to_string();
        assert_eq!(text.parse::<Ticket>().unwrap(), sample());
        for at in PREFIX.len()..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
            let changed = String::from_utf8(bytes).unwrap();
            if changed != text {
                assert_eq!(changed.parse::<Ticket>(), Err(TicketError::Damaged));
            }
        }
        assert_eq!("hello".parse::<Ticket>(), Err(TicketError::Prefix));
        assert_eq!("edgenet1".parse::<Ticket>(), Err(TicketError::Damaged));
    }
}
