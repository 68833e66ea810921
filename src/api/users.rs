//! Users: tokens, profiles, who is online.

use super::{
    endpoint::{Context, Endpoint, Outcome, surprising},
    error::{ApiError, Code},
    params::Params,
    reply::Fields,
    time::datetime,
};
use crate::{
    model::{Stamp, UserKey},
    relay::{Answer, Command, Directive},
    store::Profile,
    token::{self, Claims},
};
use std::sync::Arc;

/// Longest name, in bytes.
const MAX_NAME: usize = 128;
/// Longest address of a portrait, in bytes.
const MAX_PORTRAIT: usize = 1024;

fn optional(params: &Params<'_>, name: &str, max: usize) -> Result<Option<Arc<str>>, ApiError> {
    Ok(params.short(name, max)?.map(Arc::from))
}

/// `user/getToken`: registers a user, or overwrites what is given, and makes a token.
#[derive(Debug, PartialEq)]
pub(super) struct GetToken {
    user: UserKey,
    name: Arc<str>,
    portrait: Option<Arc<str>>,
}

impl Endpoint for GetToken {
    fn parse(app: &str, params: &Params<'_>) -> Result<Self, ApiError> {
        Ok(Self {
            user: params.user(app, "userId")?,
            name: optional(params, "name", MAX_NAME)?.ok_or_else(|| ApiError::missing("name"))?,
            portrait: optional(params, "portraitUri", MAX_PORTRAIT)?,
        })
    }

    async fn run(self, context: Context) -> Outcome {
        let user = self.user.clone();
        let known = context.hub.read(move |store| store.profile(&user)).await?;
        if let Some(directive) = self.news(&known) {
            context.ask(self.user.clone(), Command::Direct(directive)).await?;
        }
        let issued = context.hub.now();
        let life = context.options.token_lifetime;
        let claims = Claims {
            user: self.user,
            issued,
            expires: life
                .map(|life| issued.0.saturating_add(u64::try_from(life.as_micros()).unwrap_or(u64::MAX)))
                .map(Stamp),
        };
        let token = token::issue(context.app.secret.reveal(), &claims);
        Ok(Fields::none().with("userId", claims.user.id()).with("token", token))
    }
}

impl GetToken {
    /// What has to be written; mostly nothing, since back ends get a token each time that a page is opened.
    fn news(&self, known: &Profile) -> Option<Directive> {
        let create = known.created.is_none();
        let name = (create || known.name != self.name).then(|| self.name.clone());
        let portrait = self.portrait.clone().filter(|new| *new != known.portrait);
        (create || name.is_some() || portrait.is_some()).then_some(Directive::PutUser {
            name,
            portrait,
            create,
        })
    }
}

/// `user/refresh`: changes name and portrait, as far as given.
#[derive(Debug, PartialEq)]
pub(super) struct Refresh {
    user: UserKey,
    name: Option<Arc<str>>,
    portrait: Option<Arc<str>>,
}

impl Endpoint for Refresh {
    fn parse(app: &str, params: &Params<'_>) -> Result<Self, ApiError> {
        Ok(Self {
            user: params.user(app, "userId")?,
            name: optional(params, "name", MAX_NAME)?,
            portrait: optional(params, "portraitUri", MAX_PORTRAIT)?,
        })
    }

    async fn run(self, context: Context) -> Outcome {
        if self.name.is_some() || self.portrait.is_some() {
            let directive = Directive::PutUser { name: self.name, portrait: self.portrait, create: false };
            context.ask(self.user, Command::Direct(directive)).await?;
        }
        Ok(Fields::none())
    }
}

/// `user/info`: name, portrait and the time of registration.
#[derive(Debug, PartialEq)]
pub(super) struct Info {
    user: UserKey,
}

impl Endpoint for Info {
    fn parse(app: &str, params: &Params<'_>) -> Result<Self, ApiError> {
        let user = params.user(app, "userId")?;
        Ok(Self { user })
    }

    async fn run(self, context: Context) -> Outcome {
        let profile = context.hub.read(move |store| store.profile(&self.user)).await?;
        info(&profile, context.options.utc_offset)
    }
}

fn info(profile: &Profile, offset: i32) -> Outcome {
    let created =
        profile.created.ok_or_else(|| ApiError::new(Code::Parameter, "userId is not registered."))?;
    Ok(Fields::none()
        .with("userName", &*profile.name)
        .with("userPortrait", &*profile.portrait)
        .with("createTime", datetime(created, offset)))
}

/// `user/checkOnline`: whether a user has a live session.
#[derive(Debug, PartialEq)]
pub(super) struct CheckOnline {
    user: UserKey,
}

impl Endpoint for CheckOnline {
    fn parse(app: &str, params: &Params<'_>) -> Result<Self, ApiError> {
        let user = params.user(app, "userId")?;
        Ok(Self { user })
    }

    async fn run(self, context: Context) -> Outcome {
        let command = Command::Online(vec![self.user.clone()]);
        status(&context.ask(self.user, command).await?)
    }
}

/// The status is a text, which old applications compare with `'0'`.
fn status(answer: &Answer) -> Outcome {
    match answer {
        Answer::Users(online) => Ok(Fields::none().with("status", if online.is_empty() { "0" } else { "1" })),
        other => Err(surprising(other)),
    }
}

/// `user/token/expire`: tokens issued before a moment no longer connect.
#[derive(Debug, PartialEq)]
pub(super) struct ExpireTokens {
    users: Vec<Arc<str>>,
    before: Stamp,
}

impl Endpoint for ExpireTokens {
    fn parse(_app: &str, params: &Params<'_>) -> Result<Self, ApiError> {
        Ok(Self {
            users: params.ids("userId", 20)?,
            before: params
                .number("time", 0..=Stamp::MAX.millis())?
                .map(Stamp::from_millis)
                .ok_or_else(|| ApiError::missing("time"))?,
        })
    }

    async fn run(self, context: Context) -> Outcome {
        let directive = Directive::ExpireTokens { before: self.before };
        let commands = self
            .users
            .iter()
            .map(|id| Ok((context.user("userId", id)?, Command::Direct(directive.clone()))))
            .collect::<Result<_, ApiError>>()?;
        context.tell_all(commands).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::body::{Encoding, decode};

    fn parse<E: Endpoint>(body: &str) -> Result<E, ApiError> {
        E::parse("app", &decode(Encoding::Form, body.as_bytes()).unwrap())
    }

    fn code<E: Endpoint>(body: &str) -> Code {
        parse::<E>(body).err().unwrap().code
    }

    #[test]
    fn a_token_needs_user_and_name_within_their_limits() {
        let call: GetToken = parse("userId=u1&name=Ann&portraitUri=").unwrap();
        assert_eq!((call.user.id(), &*call.name, call.portrait), ("u1", "Ann", None));
        assert_eq!(code::<GetToken>("userId=u1"), Code::Missing);
        assert_eq!(code::<GetToken>("name=Ann"), Code::Missing);
        let long = |n| "x".repeat(n);
        assert!(parse::<GetToken>(&format!("userId={}&name={}", long(64), long(128))).is_ok());
        assert_eq!(code::<GetToken>(&format!("userId={}&name=a", long(6_600))), Code::TooLong);
        assert_eq!(code::<GetToken>(&format!("userId=a&name={}", long(129))), Code::TooLong);
        assert!(parse::<Refresh>(&format!("userId=a&portraitUri={}", long(1_024))).is_ok());
        assert_eq!(code::<Refresh>(&format!("userId=a&portraitUri={}", long(1_025))), Code::TooLong);
        assert_eq!(code::<Refresh>(&format!("userId={}", long(65))), Code::TooLong);
    }

    #[test]
    fn a_user_is_registered_once_and_written_only_when_changed() {
        let call: GetToken = parse("userId=u1&name=Ann").unwrap();
        let put = |name: Option<&str>, create| {
            Some(Directive::PutUser { name: name.map(Arc::from), portrait: None, create })
        };
        let mut known = Profile::default();
        assert_eq!(call.news(&known), put(Some("Ann"), true));
        known.created = Some(Stamp(1));
        assert_eq!(call.news(&known), put(Some("Ann"), false));
        known.name = "Ann".into();
        known.portrait = "https://example.org/ann.png".into();
        assert_eq!(call.news(&known), None, "what is not given stays");
        known.created = None;
        assert_eq!(call.news(&known), put(Some("Ann"), true));
    }

    #[test]
    fn the_status_is_a_text() {
        let zero = status(&Answer::Users(vec![])).unwrap();
        assert_eq!(zero.get("status"), Some(&"0".into()));
        let one = status(&Answer::Users(vec!["u".into()])).unwrap();
        assert_eq!(one.get("status"), Some(&"1".into()));
        assert_eq!(status(&Answer::Done).unwrap_err().code, Code::Internal);
    }

    #[test]
    fn a_user_who_never_registered_is_an_error() {
        assert_eq!(info(&Profile::default(), 480).unwrap_err().code, Code::Parameter);
        let profile = Profile { name: "Ann".into(), portrait: "".into(), created: Some(Stamp(0)) };
        let fields = info(&profile, 480).unwrap();
        assert_eq!(fields.get("createTime"), Some(&"1970-01-01 08:00:00".into()));
        assert_eq!(fields.get("userPortrait"), Some(&"".into()));
    }

    #[test]
    fn expiry_names_up_to_twenty_users_and_a_moment() {
        let call: ExpireTokens = parse("userId=a&userId=b&time=1700000000000").unwrap();
        assert_eq!((call.users.len(), call.before.millis()), (2, 1_700_000_000_000));
        assert_eq!(code::<ExpireTokens>("userId=a"), Code::Missing);
        assert_eq!(code::<ExpireTokens>("userId=a&time=soon"), Code::Parameter);
        let many = "userId=a&".repeat(21) + "time=1";
        assert_eq!(code::<ExpireTokens>(&many), Code::Parameter);
    }
}
