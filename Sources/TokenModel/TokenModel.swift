// TokenModel
