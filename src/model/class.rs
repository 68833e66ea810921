//! Message classes: what a class's name says when a send does not.

/// How messages of a class are kept, unless the send says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassFlags {
    /// Counts as unread.
    pub counted: bool,
    /// Stands in history and in the conversation list.
    pub stored: bool,
    /// Goes to live sessions only: no mailbox, no disk.
    pub status: bool,
}

/// The flags of a class, by name; source: the class table of `docs/protocol.md`, section 6.
///
/// Names that are not in the table are the app's own: counted and stored.
#[must_use]
pub fn class_flags(name: &str) -> ClassFlags {
    let (counted, stored, status) = match name {
        "RC:InfoNtf" | "RC:ContactNtf" | "RC:ProfileNtf" | "RC:CmdNtf" | "RC:GrpNtf" | "RC:DizNtf"
        | "RC:RcNtf" | "RC:RcCmd" => (false, true, false),
        "RC:CmdMsg" | "RC:ReadNtf" | "RC:SRSMsg" | "RC:RRReqMsg" | "RC:RRRspMsg" | "RC:RRMsg"
        | "RC:chrmKVNotiMsg" | "RC:MsgExMsg" | "RC:PSCmd" | "RC:VCInvite" | "RC:VCRinging"
        | "RC:VCAccept" | "RC:VCHangup" | "RC:VCModifyMedia" | "RC:VCModifyMem" | "RC:VCSummary" => {
            (false, false, false)
        }
        "RC:TypSts" => (false, false, true),
        // Customer service signalling: RC:CsHs, RC:CSCha, RC:CsSp and the others.
        name if name.get(..5).is_some_and(|head| head.eq_ignore_ascii_case("RC:Cs")) => (false, false, false),
        _ => (true, true, false),
    };
    ClassFlags { counted, stored, status }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_keep_their_flags() {
        assert_eq!(class_flags("RC:TxtMsg"), ClassFlags { counted: true, stored: true, status: false });
        assert_eq!(class_flags("app:own"), ClassFlags { counted: true, stored: true, status: false });
        assert_eq!(class_flags("RC:InfoNtf"), ClassFlags { counted: false, stored: true, status: false });
        assert_eq!(class_flags("RC:CmdMsg"), ClassFlags { counted: false, stored: false, status: false });
        assert_eq!(class_flags("RC:CsHsR"), ClassFlags { counted: false, stored: false, status: false });
        assert!(class_flags("RC:TypSts").status);
        assert!(class_flags("RC:鸿").stored);
    }
}
