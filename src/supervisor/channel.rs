//! The channel from the learner to the supervisor: reports, and a goodbye.
//!
//! Owns both ends. Each has one holder: a second receiver would hide from either that the other is dead. A
//! new learner gets a new channel. The supervisor never waits for a message, its pidfds and signals do.

use std::io;

use ipc_channel::TryRecvError;
use ipc_channel::ipc::{self, IpcReceiver, IpcSender};

use crate::learner::{LearnerError, MessageSink};
use crate::telemetry::Message;

/// The supervisor's end.
#[derive(Default)]
pub struct Inbox {
    /// The only receiver; none before the first learner, and when the last one has ended.
    receiver: Option<IpcReceiver<Message>>,
}

impl Inbox {
    /// Opens a channel for a new learner in place of its predecessor's.
    ///
    /// # Errors
    /// If the operating system refuses a channel.
    pub fn open(&mut self) -> io::Result<Outbox> {
        let (sender, receiver) = ipc::channel()?;
        self.receiver = Some(receiver);
        Ok(Outbox { sender })
    }

    /// For a forked child: drops its copy of the receiver.
    pub fn close(&mut self) {
        self.receiver = None;
    }

    /// The next message that has come. Never waits.
    pub fn take(&mut self) -> Option<Message> {
        match self.receiver.as_ref()?.try_recv() {
            Ok(message) => Some(message),
            Err(TryRecvError::Empty) => None,
            // The learner has ended; its pidfd says how.
            Err(TryRecvError::IpcError(_)) => {
                self.close();
                None
            }
        }
    }
}

/// The learner's end.
pub struct Outbox {
    sender: IpcSender<Message>,
}

impl MessageSink for Outbox {
    fn send(&mut self, message: Message) -> Result<(), LearnerError> {
        self.sender.send(message).map_err(|error| LearnerError::Report(error.to_string()))
    }
}
