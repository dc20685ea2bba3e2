// Every iteration solves (J^T J + l2 + mu) v = -(J^T r + l2 w) for the velocity v of a step and
// adds its geodesic acceleration (Transtrum and Sethna, arXiv:1201.5885): r'' being the second
// derivative of the residuals along v, (J^T J + l2 + mu) a = -J^T r'', and the step is v + a/2. By
// a difference, J^T r'' = 2/h (J^T (r(w + h v) - r(w)) / h - J^T J v), which needs no row of J.
// A step that bends too much is not tried: the damping mu is raised at once.
#include "nearsight/levenberg_marquardt.hpp"

#include <Eigen/Cholesky>
#include <algorithm>

#include "nearsight/residuals.hpp"

namespace nearsight {

namespace {

constexpr double kFirstDamping = 1e-2, kMinDamping = 1e-12, kMaxDamping = 1e8;
constexpr double kRaise = 3.0, kLower = 5.0;  // the damping, when a step failed or was taken
constexpr double kMaxAcceleration = 0.75;     // |a| / |v|
constexpr double kDifference = 0.1;           // of v, for r''
constexpr double kStraight = 1e-6;            // |v| / |w| below which r'' would be rounding errors

class Minimizer {
 public:
  Minimizer(const TrainingSet& set, const ResidualWeights& weights, const Vector& start, double l2)
      : residuals_(set, weights), l2_(l2), weights_(start) {
    residual_ = residuals_.evaluate(start);
    loss_ = loss(residual_, start);
  }

  Fit run(Index iterations, double tolerance) {
    Index done = 0, small = 0;
    bool lower = true;  // else no step lowers the loss: at the minimum to the last bit
    for (; lower && small < 2 && done < iterations; ++done) {
      const double before = loss_;
      lower = iterate();
      small = before - loss_ < tolerance * before ? small + 1 : 0;
    }
    return {weights_, loss_, done, trials_};
  }

 private:
  using Square = Eigen::Ref<Eigen::MatrixXd>;

  // Upper triangle by rows, lower triangle by columns: without the columns that are padding.
  static Square lower(Matrix& upper) {
    const Index n = upper.rows();
    return Eigen::Map<Eigen::MatrixXd, 0, Eigen::OuterStride<>>(upper.data(), n, n,
                                                                Eigen::OuterStride<>(upper.cols()));
  }

  double loss(const Vector& residual, const Vector& weights) const {
    return 0.5 * residual.squaredNorm() + 0.5 * l2_ * weights.squaredNorm();
  }

  bool iterate() {
    residuals_.curvature(residual_, curvature_, gradient_);
    gradient_ += l2_ * weights_;
    for (; damping_ < kMaxDamping; damping_ *= kRaise) {
      ++trials_;
      if (!find_step()) continue;
      const Vector trial = weights_ + step_;
      const Vector& residual = residuals_.evaluate(trial);
      const double trial_loss = loss(residual, trial);
      if (!(trial_loss < loss_)) continue;
      weights_ = trial;
      residual_ = residual;
      loss_ = trial_loss;
      damping_ = std::max(damping_ / kLower, kMinDamping);
      return true;
    }
    return false;
  }

  bool find_step() {
    factor_ = curvature_;
    factor_.diagonal().array() += l2_ + damping_;
    Square square = lower(factor_);
    const Eigen::LLT<Square> cholesky(square);
    if (cholesky.info() != Eigen::Success) return false;
    step_ = -gradient_;
    cholesky.solveInPlace(step_);
    if (step_.norm() < kStraight * weights_.norm()) return true;
    Vector bend = residuals_.pull_back_change(weights_, residual_, weights_ + kDifference * step_) /
                  kDifference;
    bend.noalias() -= lower(curvature_).selfadjointView<Eigen::Lower>() * step_;
    cholesky.solveInPlace(bend);
    const Vector acceleration = (-2.0 / kDifference) * bend;
    if (!(acceleration.norm() <= kMaxAcceleration * step_.norm())) return false;
    step_ += 0.5 * acceleration;
    return true;
  }

  Residuals residuals_;
  const double l2_;
  double damping_ = kFirstDamping, loss_;
  Index trials_ = 0;
  Vector weights_, residual_, gradient_, step_;
  Matrix curvature_, factor_;  // upper triangles
};

}  // namespace

Fit levenberg_marquardt(const TrainingSet& set, const ResidualWeights& weights, const Vector& start,
                        double l2, Index iterations, double tolerance) {
  return Minimizer(set, weights, start, l2).run(iterations, tolerance);
}

}  // namespace nearsight
